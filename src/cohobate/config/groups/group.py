"""What the groups of options have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]

UNSHARED = "unshared"
"""Marks an option that a teacher which is trained for a run does not share with its student."""


class Group(BaseModel):
    """Options that belong together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def shared(cls) -> list[str]:
        """Options that a teacher which is trained for a run has in common with its student."""
        return [name for name, field in cls.model_fields.items() if UNSHARED not in field.metadata]
