"""What every implementation of a storage port must do; ``conftest.IMPLEMENTATIONS`` lists those that are tried."""
