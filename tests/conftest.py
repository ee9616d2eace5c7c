"""Every test folder finds `tests.*` and `mesh.*` from the checkout."""
