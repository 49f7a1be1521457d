from django.urls import path

from accounts import views

urlpatterns = [
    path("secrets/", views.secrets, name="secrets"),
    path("secrets/<uuid:secret_id>/value/", views.secret_rotate, name="secret_rotate"),
    path("secrets/<uuid:secret_id>/delete/", views.secret_delete, name="secret_delete"),
    path("ssh-keys/", views.ssh_keys, name="ssh_keys"),
    path("ssh-keys/<uuid:key_id>/remove/", views.ssh_key_remove, name="ssh_key_remove"),
    path("api-keys/", views.api_keys, name="api_keys"),
    path("api-keys/<uuid:key_id>/revoke/", views.api_key_revoke, name="api_key_revoke"),
    path("notifications/", views.notices, name="notices"),
    path("notifications/bell/", views.notices_bell, name="notices_bell"),
    path("notifications/read/", views.notices_read, name="notices_read"),
    path("notifications/choices/", views.notice_choices, name="notice_choices"),
    path("notifications/<int:notice_id>/", views.notice, name="notice"),
]
