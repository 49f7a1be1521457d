"""Rent machines by the second, from a terminal."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from . import config, showing
from .client import ApiError, Client, Json
from .reaching import REFUSED, RentalId, as_curl, connected, named, ssh_words
from .showing import aside, console

# Older typers show the locals of every frame when something breaks, and the key is among them.
app = typer.Typer(
    no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_show_locals=False
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
OfferId = Annotated[str, typer.Argument(help="An offer's id, from the search.", metavar="OFFER")]
TemplateName = Annotated[
    str, typer.Option("--template", "-t", help="Its slug or id; the first official one without.")
]
Gpus = Annotated[int | None, typer.Option(help="How many cards; 0: a machine without any.")]
Disk = Annotated[int | None, typer.Option(help="GB of disk.")]

Wait = Annotated[bool, typer.Option(help="Wait until it has come about.")]


@app.callback()
def main(
    context: typer.Context,
    server: Annotated[
        str, typer.Option(help="The platform's address, instead of the kept one.")
    ] = "",
    curl: Annotated[
        bool, typer.Option("--curl", help="Print each request as a curl line.")
    ] = False,
) -> None:
    if server:
        os.environ["DCOMPUTE_SERVER"] = server
    context.obj = as_curl if curl else None


@app.command()
def login(
    context: typer.Context,
    server: Annotated[str, typer.Option(help="The platform's address, https://…")] = "",
) -> None:
    """Keep a platform's address and an API key, which is asked for and not shown."""
    address = server or config.load().server
    if not address:
        aside.print("Which platform? Type: dcompute login --server https://…")
        raise typer.Exit(REFUSED)
    key = os.environ.get("DCOMPUTE_KEY", "") or typer.prompt("API key", hide_input=True)
    os.environ.update(DCOMPUTE_SERVER=address, DCOMPUTE_KEY=key)
    with connected(context) as client:
        email = client.call("GET", "me/")["email"]
        path = config.save(config.Login(address, key))
        console.print(showing.plain(f"You are {email} on {address}; kept in {path}."))


@app.command()
def search(
    context: typer.Context,
    wishes: Annotated[
        list[str] | None,
        typer.Argument(
            help="Filters as name=value, as in docs/offer-fields.md: vram_mib_min=24000 country=DE.",
            metavar="[FILTER=VALUE]...",
        ),
    ] = None,
    gpus: Gpus = None,
    disk_gb: Disk = None,
    hours: Annotated[int | None, typer.Option(help="For how long the total is.")] = None,
    sort: Annotated[str, typer.Option(help="price, value, ready or reliability.")] = "",
    limit: Annotated[int, typer.Option(help="Rows, 1 to 200.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show what can start now, at its price with everything."""
    asked: dict[str, Any] = {"gpus": gpus, "disk_gb": disk_gb, "hours": hours, "limit": limit}
    asked["sort"] = sort or None
    for wish in wishes or []:
        name, equals, value = wish.partition("=")
        if not equals:
            raise typer.BadParameter(f"{wish} is no filter: write name=value.")
        asked.setdefault(name, [])
        if not isinstance(asked[name], list):
            raise typer.BadParameter(f"{name} has an option of its own.")
        asked[name].append(value)
    given = {name: value for name, value in asked.items() if value is not None}
    with connected(context) as client:
        found = client.search(**given)
        if as_json:
            showing.show_json(found)
        else:
            showing.offers(found)


def _size(gpus: int | None, disk_gb: int | None) -> Json:
    size = {"gpu_count": gpus, "disk_gb": disk_gb}
    return {name: value for name, value in size.items() if value is not None}


@app.command()
def check(
    context: typer.Context,
    offer: OfferId,
    template: TemplateName = "",
    gpus: Gpus = None,
    disk_gb: Disk = None,
    as_json: AsJson = False,
) -> None:
    """Look at everything that can be known before money moves, and tell the exact price."""
    with connected(context) as client:
        template_id = client.template_id(template)
        size = _size(gpus, disk_gb)
        seen = client.preflight(offer, template_id, **size)
        quote = client.quote(offer, template_id, **size)
        if as_json:
            showing.show_json({"preflight": seen, "quote": quote})
        else:
            rows = [[each["result"], each["code"], each["sentence"]] for each in seen["checks"]]
            showing.show_table([("", "left"), ("check", "left"), ("", "left")], rows)
            price = f"{showing.an_hour(quote['price'])}, until {quote['expires_at']}"
            showing.show_pairs([("", seen["prediction"]["sentence"]), ("price", price)])
        if seen["verdict"] == "fail":
            raise typer.Exit(REFUSED)


@app.command()
def rent(
    context: typer.Context,
    offer: OfferId,
    template: TemplateName = "",
    gpus: Gpus = None,
    disk_gb: Disk = None,
    trust_with: Annotated[
        list[str] | None,
        typer.Option(
            help="A secret of yours that somebody else's template may read; once for each.",
            metavar="NAME",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Rent a machine at the price that is shown, and wait until it answers by SSH."""
    with connected(context) as client:
        quote = client.quote(offer, client.template_id(template), **_size(gpus, disk_gb))
        aside.print(f"{showing.an_hour(quote['price'])}, by the second, until you end it.")
        agreed = _agreed_secrets(quote, trust_with or [], yes)
        if not yes:
            typer.confirm("Rent it?", abort=True, err=True)
        more: Json = {"agreed_secrets": agreed} if agreed else {}
        rental = client.rent(quote["id"], **more)
        if wait:
            rental = _wait(client, rental["id"])
        _show_rental(rental, as_json)


def _agreed_secrets(quote: Json, trusted: list[str], yes: bool) -> list[str]:
    """Return the secrets that a stranger's template may read, having asked for those that nobody named yet.

    Raises ApiError `secrets_unconfirmed` when nobody may be asked.
    """
    reads, asks = quote["reads_secrets"], quote["secrets_to_agree"]
    if reads and not asks:
        aside.print(showing.plain(f"It starts with these secrets of yours: {', '.join(reads)}."))
    if missing := [name for name in asks if name not in trusted]:
        warning = (
            "This template is somebody else's. What it starts reads these secrets of yours, and can send them "
            f"anywhere: {', '.join(missing)}."
        )
        if yes:
            options = " ".join(f"--trust-with {name}" for name in missing)
            words = f"{warning} If you trust it with them, type {options} beside --yes; nothing was charged."
            raise ApiError("secrets_unconfirmed", words, 409)
        aside.print(showing.plain(warning))
        typer.confirm("Trust it with them?", abort=True, err=True)
    return list(asks)


def _wait(client: Client, rental_id: str) -> Json:
    with aside.status("Asking") as status:

        def tell(rental: Json) -> None:
            status.update(showing.plain(f"{rental['label']}: {rental['sentence']}"))

        return client.wait(rental_id, tell=tell)


def _show_rental(rental: Json, as_json: bool) -> None:
    if as_json:
        showing.show_json(rental)
    else:
        showing.rental(rental)
    if rental["state"] == "ended" and rental["end"]["fault"] != "none":
        raise typer.Exit(REFUSED)


@app.command(name="list")
def list_rentals(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Ended ones, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show your rentals."""
    with connected(context) as client:
        rows = list(client.rentals())
        shown = [row for row in rows if everything or row["state"] != "ended"]
        if as_json:
            showing.show_json(shown)
        else:
            showing.rentals(shown)


@app.command()
def show(context: typer.Context, rental: RentalId, as_json: AsJson = False) -> None:
    """Show one rental: how to log in, what it costs, what can be done now."""
    with connected(context) as client:
        found = client.rental(named(client, rental))
        if as_json:
            showing.show_json(found)
        else:
            showing.rental(found)


def _act(context: typer.Context, rental: str, action: str, wait: bool, as_json: bool) -> None:
    with connected(context) as client:
        rental_id = named(client, rental)
        after = client.act(rental_id, action)
        if wait:
            after = _wait(client, rental_id)
        _show_rental(after, as_json)


@app.command()
def stop(
    context: typer.Context, rental: RentalId, wait: Wait = True, as_json: AsJson = False
) -> None:
    """Stop a rental; its disk is kept and costs on."""
    _act(context, rental, "stop", wait, as_json)


@app.command()
def start(
    context: typer.Context, rental: RentalId, wait: Wait = True, as_json: AsJson = False
) -> None:
    """Start a stopped rental again."""
    _act(context, rental, "start", wait, as_json)


@app.command()
def restart(
    context: typer.Context, rental: RentalId, wait: Wait = True, as_json: AsJson = False
) -> None:
    """Restart the container; its disk stays."""
    _act(context, rental, "restart", wait, as_json)


@app.command()
def end(
    context: typer.Context,
    rental: RentalId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """End a rental. Its disk is deleted."""
    if not yes:
        typer.confirm("Its disk will be deleted. End it?", abort=True, err=True)
    _act(context, rental, "end", wait, as_json)


@app.command()
def ssh(
    context: typer.Context,
    rental: RentalId,
    command: Annotated[list[str] | None, typer.Argument(help="What to run there.")] = None,
) -> None:
    """Log in, or run a command there, by your own ssh."""
    with connected(context) as client:
        found = client.rental(named(client, rental))
        if found["state"] != "running":
            raise ApiError(
                "rental_not_running", f"It is {found['state']}. {found['sentence']}", 409
            )
        words = ssh_words(found["ssh"], command or [])
    # Our own process becomes ssh, with its terminal and its exit status.
    os.execvp("ssh", words)  # noqa: S606, S607


@app.command()
def logs(context: typer.Context, rental: RentalId) -> None:
    """Print the last words of a container that stopped, ended or failed."""
    with connected(context) as client:
        kept = client.call("GET", f"rentals/{named(client, rental)}/logs/")
        for line in kept["text"].splitlines():
            console.print(showing.plain(line), soft_wrap=True)


@app.command()
def bill(context: typer.Context, rental: RentalId, as_json: AsJson = False) -> None:
    """Print the bill of a rental, line by line."""
    with connected(context) as client:
        told = client.call("GET", f"rentals/{named(client, rental)}/bill/")
        if as_json:
            showing.show_json(told)
        else:
            showing.bill(told)


@app.command()
def balance(context: typer.Context, as_json: AsJson = False) -> None:
    """Show what you have, what is locked, and when it runs out."""
    with connected(context) as client:
        wallets = client.wallets()
        if as_json:
            showing.show_json(wallets)
            return
        names = ("currency", "available", "locked", "total", "hourly", "runs_out")
        columns = [(name.replace("_", " "), "right") for name in names]
        showing.show_table(columns, [[wallet[name] for name in names] for wallet in wallets])
