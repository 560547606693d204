"""What carries segments out. Ray lives in one file here, `ray.py`; this loads none of it."""
