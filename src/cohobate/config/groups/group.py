"""What the groups of options have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..text import as_text, shown

Share = Annotated[float, Field(ge=0, le=1)]

UNSHARED = "unshared"
"""Marks an option that a teacher which is trained for a run does not share with its student."""
ANY_NAME = "any name"
"""Marks an option of names that need not be UTF-8: the files are read, and no page shows them."""


class Group(BaseModel):
    """Options that belong together."""

    # No option wants infinity: where a limit may be left out, it is None.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _is_text(self) -> Group:
        fields = type(self).model_fields
        for name, value in self:
            if ANY_NAME in fields[name].metadata:
                continue
            for each in value if isinstance(value, tuple) else (value,):
                if isinstance(each, str | Path) and as_text(each) != str(each):
                    raise ValueError(
                        f"{name} {shown(each)} is not UTF-8, so no table or page could show it; rename it"
                    )
        return self

    @classmethod
    def shared(cls) -> list[str]:
        """Options that a teacher which is trained for a run has in common with its student."""
        return [name for name, field in cls.model_fields.items() if UNSHARED not in field.metadata]
