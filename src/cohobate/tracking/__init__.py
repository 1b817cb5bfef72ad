"""Trackers: other programs that are told of a run what its own files hold."""
