"""What is asked: the job file as frozen data (`job`), read strictly (`load`); the wire."""
