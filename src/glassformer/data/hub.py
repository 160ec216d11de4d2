"""Sets on the Hugging Face hub, read through the library `datasets`, which is asked only where a name begins with
`hub:`."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from glassformer.errors import GlassformerError, UsageError


class HubName(NamedTuple):
    path: str
    config: str | None
    split: str


def hub_name(name: str) -> HubName:
    """Two parts are OWNER/NAME and, if it is the name of a usual split, the split, otherwise the
    configuration."""
    path, *rest = re.split(r":(?![^\[]*\])", name.removeprefix("hub:"))  # the colon of test[:10%] is no separator
    if path.count("/") != 1 or not all(path.split("/")) or len(rest) > 2:
        raise UsageError(f"{name} is no name of a hub data set", "write hub:OWNER/NAME[:CONFIG][:SPLIT]")
    if len(rest) == 1 and rest[0].partition("[")[0] in ("train", "validation", "test"):
        rest = ["", *rest]
    config, split_name = [*rest, "", ""][:2]
    return HubName(path, config or None, split_name or "train")


def hub_rows(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, row) of each row of a hub data set. Raises GlassformerError when it cannot be loaded."""
    hub = hub_name(name)
    import datasets  # slow to import and rarely needed

    try:
        rows = datasets.load_dataset(hub.path, hub.config, split=hub.split)
    except Exception as error:  # the library raises a dozen kinds: no network, no such set, configuration or split
        raise GlassformerError(
            f"{name} cannot be loaded from the hub: {error}",
            "check the name and the network, or download the text and give the file",
        ) from None
    for row in rows:
        yield name, row
