"""Methods by name, as a run makes them from its options."""

from __future__ import annotations

from typing import Any

from cohobate.core import Plan
from cohobate.engine.plan import begin
from cohobate.recipes.job import Job
from cohobate.recipes.options import own_options
from cohobate.recipes.recipe import find


def plan_of(method: str, job: Job) -> Plan:
    """The method's plan, with its own options from those of the run."""
    own = {option: getattr(job.training, option) for option in own_options(method)}
    return find(method).plan(job, own)


def made_for(method: str, job: Job) -> Any:
    """What the method's first phase trains, made with the random numbers of seed 0."""
    return begin(plan_of(method, job), seed=0).method
