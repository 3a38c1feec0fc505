"""Names that people bring along from elsewhere: older names, other libraries' names, dropped settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib import resources

import attrs

from rlkit_core.errors import did_you_mean


@attrs.frozen
class OtherNames:
    """What a class of settings says about names that it does not have.

    Attributes:
        renamed: older names, accepted with a note, each with the present one.
        elsewhere: names used by other libraries; refused, naming ours.
        refused: settings that are gone for good, each with what replaces it; ``methods`` alike.
        origin: where the refused names come from, for the message.
    """

    renamed: Mapping[str, str] = {}
    elsewhere: Mapping[str, str] = {}
    refused: Mapping[str, str] = {}
    methods: Mapping[str, str] = {}
    origin: str = "another library"

    @classmethod
    def read(cls, package: str, file: str) -> OtherNames:
        """The names in a JSON file of a package: an object with the attributes of this class.

        ``refused`` and ``methods`` are lists of ``{"names": [...], "instead": "what to say"}`` there.
        """
        data = json.loads(resources.files(package).joinpath(file).read_text(encoding="utf-8"))
        for key in ("refused", "methods"):
            data[key] = {name: entry["instead"] for entry in data.get(key, ()) for name in entry["names"]}
        return cls(**data)

    def hint(self, name: str, known: Iterable[str]) -> str:
        """What to say, after a blank, of a name that is no setting: the ``known`` one meant, or why it is gone."""
        known = list(known)
        if name in self.refused:
            return f" {name!r} is a setting of {self.origin} that rlkit does not have: {self.refused[name]}."
        target = self.elsewhere.get(name) or self.renamed.get(name)
        if target in known:
            return f" Did you mean {target!r}?"
        return did_you_mean(name, known)
