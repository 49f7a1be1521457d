"""Django's settings, one file, by topic. Values that differ between machines come from `env`."""

from __future__ import annotations

from pathlib import Path

from marketplace.env import Mode, load
from marketplace.schedule import beat_schedule

BASE_DIR = Path(__file__).resolve().parent.parent
DC = load()

# --- Who we are
SECRET_KEY = DC.secret_key.get_secret_value()
FIELD_KEYS = [key.get_secret_value() for key in DC.field_keys]
DEBUG = DC.mode is Mode.DEV
ALLOWED_HOSTS = [*DC.allowed_hosts, "testserver"] if DC.mode is Mode.TEST else DC.allowed_hosts
CSRF_TRUSTED_ORIGINS = [DC.public_url]
ROOT_URLCONF = "marketplace.urls"
ASGI_APPLICATION = "marketplace.asgi.application"
CURRENCY = DC.currency

INSTALLED_APPS = [
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_cotton.apps.SimpleAppConfig",
    "template_partials.apps.SimpleAppConfig",
    "django_htmx",
    "pgtrigger",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "allauth",
    "allauth.account",
    "core",
    "audit",
    "accounts",
    "billing",
    "nodes",
    "rentals",
    "realtime",
    "marketplace",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "core.web.DomainErrorMiddleware",
]

# --- What we remember with
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        **DC.database(),
        # Under ASGI each thread would otherwise keep a connection of its own.
        "OPTIONS": {"pool": {"min_size": 1, "max_size": 6, "timeout": 10}},
        "TEST": {"NAME": None},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
REDIS_URL = DC.redis_url.get_secret_value()
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        # redis-py 8 times idle readers out after 5 s unless told not to.
        "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_timeout": None}]},
    }
}
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://")
# A hint that cannot be given at once is not worth waiting for: the sweep by clock does the same. kombu's own
# hundred retries would hold each commit for 6 s while Redis is away.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "max_retries": 0,
    "socket_connect_timeout": 1,
    "socket_timeout": 5,
}

# --- Who may come in
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher"]
if DC.mode is Mode.TEST:
    PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_LOGOUT_REDIRECT_URL = "/"
ACCOUNT_UNIQUE_EMAIL = True
ALLAUTH_TRUSTED_PROXY_COUNT = DC.trusted_proxies
ACCOUNT_RATE_LIMITS = {"login_failed": "5/15m/key,20/15m/ip"}
ACCOUNT_ADAPTER = "accounts.adapters.AccountAdapter"

# --- Mail
_BACKENDS = {"console": "console", "file": "filebased", "smtp": "smtp"}
EMAIL_BACKEND = f"django.core.mail.backends.{_BACKENDS[DC.mail]}.EmailBackend"
if DC.mode is Mode.TEST:
    EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
EMAIL_FILE_PATH = DC.mail_folder
EMAIL_HOST, EMAIL_PORT = DC.smtp_host, DC.smtp_port
EMAIL_HOST_USER = DC.smtp_user
EMAIL_HOST_PASSWORD = DC.smtp_password.get_secret_value()
EMAIL_USE_TLS = DC.smtp_security == "starttls"
EMAIL_USE_SSL = DC.smtp_security == "tls"
# A server that says nothing must not hold up everybody's mail.
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = DC.mail_from

# --- Sessions
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SECURE = DC.mode is Mode.PRODUCTION
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
SECURE_SSL_REDIRECT = SECURE
SECURE_HSTS_SECONDS = 31_536_000 if SECURE else 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if SECURE else None
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "EXCLUDE_URL_PREFIXES": ["/admin/", "/api/docs/"],
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "script-src": ["'self'"],
        "style-src": ["'self'", "'unsafe-inline'"],
        "img-src": ["'self'", "data:"],
        "connect-src": ["'self'"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'"],
        "base-uri": ["'self'"],
    },
}

# --- The API
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.authentication.ApiKeyAuthentication",
        "accounts.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["core.api.EnvelopeRenderer"],
    # `?format=csv` is a question to the view (core.api.wants_csv), so that refusals stay JSON.
    "URL_FORMAT_OVERRIDE": None,
    "DEFAULT_PARSER_CLASSES": ["core.api.ShallowJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "core.api.handle_exception",
    "DEFAULT_THROTTLE_CLASSES": [
        "core.api.AnonThrottle",
        "core.api.UserThrottle",
    ],
    # The seeds ask for 100 a minute; the pages of one person poll nothing, so people never meet it.
    "DEFAULT_THROTTLE_RATES": (
        {"anon": "100/min", "user": "600/min"}
        if DC.mode is Mode.PRODUCTION
        else {"anon": "6000/min", "user": "6000/min"}
    ),
    # Otherwise whoever sends X-Forwarded-For chooses whom the limit counts.
    "NUM_PROXIES": DC.trusted_proxies,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "DistributedCompute",
    "DESCRIPTION": "Rent machines by the second, or list yours. Every answer has one envelope.",
    "VERSION": "1",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}
# A body larger than this is refused before anything reads it.
DATA_UPLOAD_MAX_MEMORY_SIZE = 256 * 1024

# --- Pages
STATIC_URL = "/static/"
STATICFILES_DIRS = [DC.static_bundle] if DC.static_bundle.is_dir() else []
WHITENOISE_USE_FINDERS = True
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": False,
        "OPTIONS": {
            # cotton and template-partials both need to wrap the loaders; their automatic set-ups undo each other.
            "loaders": [
                (
                    "template_partials.loader.Loader",
                    [
                        (
                            "django.template.loaders.cached.Loader",
                            [
                                "django_cotton.cotton_loader.Loader",
                                "django.template.loaders.filesystem.Loader",
                                "django.template.loaders.app_directories.Loader",
                            ],
                        )
                    ],
                )
            ],
            "builtins": [
                "django_cotton.templatetags.cotton",
                "template_partials.templatetags.partials",
                "core.templatetags.amounts",
            ],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.presenting.bell",
            ],
        },
    }
]
COTTON_DIR = "components"

# --- Words and time
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": DC.log_level},
}

CELERY_BEAT_SCHEDULE = beat_schedule(DC)
