"""From a filled config to data, networks, optimisers and stages."""
