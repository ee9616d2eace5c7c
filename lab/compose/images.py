"""The images of a checkout, on an engine: what is there stays, what is missing is built. Nothing else is touched."""

from __future__ import annotations

import contextlib
import fcntl
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lab import wheels
from lab.compose import build, bundle, recipes
from lab.compose.cache import cache, forget_base, log_of, note_base, noted_base, wheels_for
from lab.compose.engine import Engine, Say
from lab.compose.options import DEBOOTSTRAP, DEFAULT, NO_REGISTRY, SAID, choose_base, origin
from lab.compose.options import Options as Options  # callers need no second import
from lab.compose.recipes import REPOSITORY, Base, Recipe
from lab.driver import LabError, checkout

LOCK_TIMEOUT_S = 1800.0
LOCK_POLL_S = 0.2
STAGE_LABEL = "dev.meshyard.stage"  # what a build leaves behind beside its image; no image has it
# Its cache has no labels, and no filter tells our steps from those of others: that is not ours to empty.
BUILDKIT_KEEPS = (
    "BuildKit keeps the steps of builds, with the file of a CA_BUNDLE= if there was one; "
    "remove that, and what it keeps of all other builds: docker builder prune --all"
)


def ensure(engine: Engine, say: Say, options: Options) -> dict[str, str]:
    """Build the images that are missing; return role -> tag. With nothing to build, one question to the engine.

    Raises:
        LabError: one could not be built; the text says why and what mends it.
    """
    return finished(engine, say, options).tags()


def finished(engine: Engine, say: Say, options: Options) -> Workshop:
    """Build the images that are missing; return the workshop, which knows one state of the checkout for good."""
    workshop = Workshop(engine, say, options)
    if workshop.missing():
        with _alone(say):
            if options.is_offline and (checkout() / options.bundle).is_file():
                bundle.load(engine, say, checkout() / options.bundle)
            workshop.build()
    workshop.note()
    return workshop


def wanted(options: Options, architecture: str) -> dict[str, Recipe]:
    """Return the recipes of this checkout as it would be built now; asks no engine."""
    inputs = recipes.inputs_of(checkout())
    base = choose_base(options.base, noted_base(), recipes.default_base(inputs))
    return recipes.recipes(inputs, base, architecture, options.envoy_from)


class Workshop:
    """Builds what one state of the checkout needs. The files are read once, so that tag and content agree."""

    def __init__(self, engine: Engine, say: Say, options: Options) -> None:
        self.engine = engine
        self.say = say
        self.options = options
        self.inputs = recipes.inputs_of(checkout())
        self.default = recipes.default_base(self.inputs)
        self.choose()

    def choose(self) -> None:
        """Take the base that is said, else the noted one, else the default."""
        self.take(choose_base(self.options.base, noted_base(), self.default))

    def take(self, base: Base) -> None:
        """Make the operating system from this base from now on."""
        self.base = base
        self.recipes = recipes.recipes(self.inputs, base, self.engine.architecture, self.options.envoy_from)

    def tags(self) -> dict[str, str]:
        """Return role -> tag."""
        return {role: recipe.tag for role, recipe in self.recipes.items()}

    def missing(self) -> list[Recipe]:
        """Return what the engine does not have, in building order."""
        return recipes.missing(self.recipes, self.engine.tags(f"{REPOSITORY}/*"))

    def build(self) -> None:
        """Build what is missing; whoever waited for another command finds it built."""
        self.choose()
        if self._is_os_missing() and not self.base.is_own_wish and not self.options.is_offline:
            # What was noted for want of a registry, or came with a bundle, holds as long as its ground is there.
            self.take(self.default)
        if from_where := origin(self.options.base, noted_base(), self.base):
            self.say(from_where)
        if self._is_os_missing():
            self._build_os()
        todo = self.missing()
        kept = self.wheels([recipe for recipe in todo if recipe.requirements])
        for recipe in todo:
            began = time.monotonic()
            context: dict[str, bytes | Path] = {**recipe.context}
            context |= {f"wheels/{path.name}": path for path in kept.get(recipe.role, [])}
            if recipe.project is not None:
                context |= {f"mesh/{name}": wheel for name, wheel in [self._own_wheel(recipe.project)]}
            arguments = {"PARENT": recipe.parent}
            build.docker_build(self.engine, recipe.tag, context, log_of(recipe.role), arguments=arguments)
            self._built(recipe.tag, began)

    def note(self) -> None:
        """Note the base of images that are all there: a name that cannot be built is said once, and forgotten."""
        said, noted = self.options.base, noted_base()
        if said == DEFAULT or (not said and noted.base and noted.base != str(self.base)):
            forget_base()
        elif said:
            note_base(said, SAID)

    def wheels(self, todo: list[Recipe]) -> dict[str, list[Path]]:
        """Return the wheels of each recipe by role; fetch those that are not kept yet."""
        if not todo:
            return {}
        target = build.python_of(self.engine, self.recipes["os"].tag)
        folder = wheels_for(target.folder)
        listed = {recipe.role: wheels.pins(recipe.requirements, target) for recipe in todo}
        _, absent = wheels.chosen(list({pin for pins in listed.values() for pin in pins}), wheels.hashes_of(folder))
        if absent and self.options.is_offline:
            names = ", ".join(sorted(pin.name for pin in absent))
            raise LabError(f"OFFLINE=1, and there is no wheel of {names}; take them from a bundle: BUNDLE=FILE")
        if absent:
            began = time.monotonic()
            self.say(f"fetching {len(absent)} Python packages for {target.folder}")
            wheels.fetch(absent, target, folder, ca_bundle=self.options.ca_bundle)
            self.say(f"  {len(absent)} Python packages fetched ({time.monotonic() - began:.1f} s)")
        have = wheels.hashes_of(folder)
        found = {role: wheels.chosen(pins, have) for role, pins in listed.items()}
        for role, (_, still_absent) in found.items():
            if still_absent:
                raise LabError(f"the image {role} needs {still_absent[0].name}, and pip fetched no wheel of it")
        return {role: [folder / name for name in names] for role, (names, _) in found.items()}

    def _build_os(self) -> None:
        if self.options.is_offline:
            raise LabError(
                f"OFFLINE=1, and the image {self.recipes['os'].tag} is not there; name a bundle: BUNDLE=FILE"
            )
        if not self.base.is_debootstrap:
            try:
                return self._build_os_from_image()
            except build.RegistryUnreachable as error:
                trouble = build.debootstrap_trouble(platform.machine(), self.engine)
                if self.base.is_own_wish or trouble:
                    hint = f"; but: {trouble}" if trouble else ""
                    raise LabError(f"{error}\n  without a registry: make images BASE={DEBOOTSTRAP}{hint}") from error
                self.say(f"no registry is reachable from here; making the images as BASE={DEBOOTSTRAP} does")
                self.take(Base())
                if self._is_os_missing():
                    self._build_os_from_packages()
                # At once: whatever else fails, the next command finds this without asking the registry again.
                return note_base(DEBOOTSTRAP, NO_REGISTRY)
        return self._build_os_from_packages()

    def _is_os_missing(self) -> bool:
        return "os" in [recipe.role for recipe in self.missing()]

    def _build_os_from_image(self) -> None:
        began = time.monotonic()
        self.say(f"fetching {self.base}")
        build.pull(self.engine, self.base.image)
        self.say(f"building {self.recipes['os'].tag} from it (log: {log_of('os')})")
        bundle = Path(self.options.ca_bundle).read_bytes() if self.options.ca_bundle else b""
        context = {**self.recipes["os"].context, "ca-bundle.pem": bundle}
        arguments = {"BASE_IMAGE": self.base.image, **build.environment_proxies()}
        tag = self.recipes["os"].tag
        build.docker_build(self.engine, tag, context, log_of("os"), arguments=arguments, network="host")
        self._built(tag, began)

    def _build_os_from_packages(self) -> None:
        began = time.monotonic()
        tag, packages = self.recipes["os"].tag, recipes.packages(self.inputs)
        self.say(f"building {tag} from Debian packages; this takes about a minute (log: {log_of('os')})")
        options = self.options
        build.debootstrap(self.engine, tag, packages, log_of("os"), ca_bundle=options.ca_bundle, mirror=options.mirror)
        self._built(tag, began)

    def _own_wheel(self, project: recipes.Inputs) -> tuple[str, bytes]:
        with tempfile.TemporaryDirectory(prefix="meshyard-wheel-") as work:
            return wheels.build_project(project, Path(work))

    def _built(self, tag: str, began: float) -> None:
        self.say(f"  {tag} ({time.monotonic() - began:.1f} s)")


def purge(engine: Engine, say: Say) -> int:
    """Remove every image of the project from an engine, and what their builds left; return how many images.

    Raises:
        LabError: a container uses one.
    """
    found = sorted(engine.tags(f"{REPOSITORY}/*"))
    if found:
        try:
            engine.docker("rmi", *found, timeout_s=300)
        except LabError as error:
            raise LabError(f"{error}; a lab that runs keeps its images, end it first: make down LAB=compose") from error
    engine.docker("image", "prune", "--force", "--filter", f"label={STAGE_LABEL}", timeout_s=300)
    say(f"{len(found)} images removed")
    if build.is_buildkit(engine):
        say(BUILDKIT_KEEPS)
    return len(found)


@contextlib.contextmanager
def _alone(say: Say) -> Iterator[None]:
    """Let one command of this checkout build at a time."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "images.lock").open("w") as lock:
        deadline, is_said = time.monotonic() + LOCK_TIMEOUT_S, False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LabError(
                        f"another command has built images for {LOCK_TIMEOUT_S:.0f} s", exit_code=124
                    ) from None
                if not is_said:
                    say("waiting for another command of this checkout that builds images")
                is_said = True
                time.sleep(LOCK_POLL_S)
        yield
