"""What is asked: the job file as frozen data, read strictly. Imports nothing heavy."""

from automata_svc.spec.job import TuneJob
from automata_svc.spec.load import dump_job, parse_job
from automata_svc.spec.space import Domain, Space, compile_space

__all__ = ["Domain", "Space", "TuneJob", "compile_space", "dump_job", "parse_job"]
