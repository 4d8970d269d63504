"""Cohorts, models, losses and methods shared by the ECG paper notebooks. Importing it loads nothing heavy."""

__version__ = "0.1.0"
