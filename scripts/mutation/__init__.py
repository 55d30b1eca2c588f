"""The mutation run: ``python scripts/mutation`` or ``make mutants``."""
