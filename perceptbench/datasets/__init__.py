"""Human judgements in: the catalogue, the readers, the computed stimuli."""
