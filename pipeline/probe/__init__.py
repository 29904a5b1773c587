"""The probe: a client that asks recorded queries all day, and tells Prometheus what only a client can know."""
