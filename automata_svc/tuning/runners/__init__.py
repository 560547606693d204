"""What carries segments out. Ray lives in one file here (`ray.py`); importing this loads none of it."""
