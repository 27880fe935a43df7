"""The one trainer, its settings, objectives and the hooks of methods that move masks while training."""
