"""How it is done: the stages that flows compose."""
