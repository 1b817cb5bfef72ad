"""Predicting with no more of several networks than an image needs."""
