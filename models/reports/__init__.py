"""What `evaluate` says beyond its figures: audits, probes, plots, a gallery, and the page that shows them."""
