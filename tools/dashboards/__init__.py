"""Grafana's dashboards as code: one module for each, and the JSON of deploy/grafana/dashboards from them."""
