"""What a run leaves behind: a page for people, a summary for programs."""

from dask_exa.report.html import Report
from dask_exa.report.result import FieldResult, Picture, RunResult
from dask_exa.report.summary import write_summary

__all__ = ["FieldResult", "Picture", "Report", "RunResult", "write_summary"]
