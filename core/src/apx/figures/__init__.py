"""Figures of what an evaluation found; matplotlib and plotly are imported when one is drawn."""
