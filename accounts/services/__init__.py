"""What people do with their own account, and what they are told. Doors and upper apps import from here only."""

from accounts.services.choosing import (
    Choice,
    Chosen,
    choices_of,
    choose_notices,
    zone_name_of,
)
from accounts.services.mailing import claim_mail, note_mail
from accounts.services.notifying import (
    Inbox,
    forget_notices,
    inbox_of,
    notify,
    read_notice,
    read_notices,
    unread_count,
)
from accounts.services.people import (
    actor_of,
    actor_of_request,
    add_ssh_key,
    authenticate_api_key,
    create_api_key,
    create_user,
    email_of,
    remove_ssh_key,
    revoke_api_key,
    ssh_keys_of,
)
from accounts.services.signing_in import note_new_email, note_new_password, note_sign_in
from accounts.services.wording import Worded, word

__all__ = [
    "Choice",
    "Chosen",
    "Inbox",
    "Worded",
    "actor_of",
    "actor_of_request",
    "add_ssh_key",
    "authenticate_api_key",
    "choices_of",
    "choose_notices",
    "claim_mail",
    "create_api_key",
    "create_user",
    "email_of",
    "forget_notices",
    "inbox_of",
    "note_mail",
    "note_new_email",
    "note_new_password",
    "note_sign_in",
    "notify",
    "read_notice",
    "read_notices",
    "remove_ssh_key",
    "revoke_api_key",
    "ssh_keys_of",
    "unread_count",
    "word",
    "zone_name_of",
]
