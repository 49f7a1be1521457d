from django.urls import path

from accounts import api

urlpatterns = [
    path("secrets/", api.SecretListView.as_view(), name="api_secrets"),
    path("secrets/<uuid:secret_id>/", api.SecretView.as_view(), name="api_secret"),
    path("me/", api.MeView.as_view(), name="api_me"),
    path("ssh-keys/", api.SshKeyListView.as_view(), name="api_ssh_keys"),
    path("ssh-keys/<uuid:key_id>/", api.SshKeyView.as_view(), name="api_ssh_key"),
    path("api-keys/", api.ApiKeyListView.as_view(), name="api_api_keys"),
    path("api-keys/<uuid:key_id>/", api.ApiKeyView.as_view(), name="api_api_key"),
    path("notices/", api.NoticeListView.as_view(), name="api_notices"),
    path("notices/read/", api.NoticesReadView.as_view(), name="api_notices_read"),
    path("notices/<int:notice_id>/read/", api.NoticeReadView.as_view(), name="api_notice_read"),
    path("notice-choices/", api.NoticeChoicesView.as_view(), name="api_notice_choices"),
]
