from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class MarketplaceConfig(AppConfig):
    name = "marketplace"

    def ready(self) -> None:
        """Register every app's event handlers; this app is the last, so all models are ready."""
        autodiscover_modules("handlers")
