"""Why a registry could not tell us about an image."""

from __future__ import annotations


class RegistryTrouble(Exception):
    """A registry did not, or may not, answer: `code` is stable, the message is for people.

    `image_name_invalid`, `image_missing`, `registry_login_needed`, `registry_login_wrong` are final;
    `registry_address_refused`, too: nobody is sent there. `registry_away`, `registry_answer_odd`,
    `registry_busy` say that it could not be asked.
    No message ever holds a credential or what a registry wrote.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def odd(why: str) -> RegistryTrouble:
    """Return the trouble with an answer that is none."""
    return RegistryTrouble("registry_answer_odd", f"The registry's answer is not usable: {why}.")


def away(why: str) -> RegistryTrouble:
    """Return the trouble with a registry that does not answer now."""
    return RegistryTrouble("registry_away", f"The registry did not answer: {why}.")


def busy() -> RegistryTrouble:
    """Return the trouble of somebody for whom too many names are being looked up already."""
    return RegistryTrouble(
        "registry_busy",
        "The names of other registries that you have asked for do not answer yet, and no more are looked up "
        "meanwhile. Try again in half a minute.",
    )


def refused(why: str) -> RegistryTrouble:
    """Return the trouble with an address that we do not speak with."""
    return RegistryTrouble(
        "registry_address_refused",
        f"Nobody is sent to this registry: {why}. Put the image into one on the open internet, with a log-in "
        "if it is private; who runs this platform can allow another (DC_TRUSTED_REGISTRIES).",
    )
