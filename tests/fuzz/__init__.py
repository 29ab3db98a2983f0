"""Random wrong inputs and faults, for as long as one likes: `python -m tests.fuzz config|data|weights|faults --seconds=600`."""
