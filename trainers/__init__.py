"""How trials train: adapters, optimizers, tasks and one trial's life."""
