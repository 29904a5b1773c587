"""`python -m beam_index.build`: from an exported model to an index."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import pathlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult

from beam_index.budget.choice import Budget
from beam_index.budget.choose import require_within, undecided, within_budget
from beam_index.counters import CODES_SCORED, COUNTERS, PAIRS_SCORED, POSTINGS_WRITTEN, QUERIES_ENCODED
from beam_index.dead_letters import write_dead_letters
from beam_index.files import RECORDS, discard_unfinished
from beam_index.forecast import forecast
from beam_index.manifest import INDEX_FORMAT, Counts, count, write_index_manifest
from beam_index.options import BuildOptions, parse
from beam_index.pipeline import build
from beam_index.plan import EXPORT_FORMAT, Plan, make_plan
from beam_index.progress import Journal, shown
from beam_index.quality import CheckOptions, Quality, measure, require_fidelity, require_queries, write_report
from beam_index.saved_model import one_thread_per_op
from beam_index.screening import screen_queries, tally, without_bad_items
from beam_index.updates import with_updates
from protos.artifact import MANIFEST, new_artifact, read_manifest
from protos.beam.options import quiet_beam, user_errors
from protos.errors import UserError, run_cli
from protos.query_inputs import QueryInput, query_inputs


@dataclasses.dataclass(frozen=True)
class Report:
    """What a build made.

    Attributes:
      directory: of the index.
      manifest: its `manifest.json`.
      pairs: of code and item that the scorer scored.
      seconds: wall time of the build.
      quality: of the index; None where it was not measured.
      budget: what was chosen within --max_bytes; None where that was not given.
    """

    directory: pathlib.Path
    manifest: Mapping[str, Any]
    pairs: int
    seconds: float
    quality: Quality | None = None
    budget: Budget | None = None

    @property
    def total_bytes(self) -> int:
        """Bytes of the lists and of the block: manifest and report not counted."""
        return sum(file["bytes"] for name, file in self.manifest["files"].items() if name.endswith(RECORDS))

    def __str__(self) -> str:
        counts, options = self.manifest["counts"], self.manifest["options"]
        lists = counts["codes"] + counts["ready_lists"]
        block = "with" if self.manifest["block"] else "no"
        fidelity = "not measured" if self.quality is None else self.quality.verdict
        budget = [] if self.budget is None else [f"chosen            {self.budget}"]
        return "\n".join(
            [
                f"index             {self.directory}",
                f"codes             {counts['codes']:,} ({options['codes']}), {counts['empty_lists']:,} lists empty",
                f"pairs scored      {self.pairs:,}",
                f"ready lists       {counts['ready_lists']:,}",
                f"postings          {counts['postings']:,}, {counts['postings'] / lists:.1f} a list",
                f"items in no list  {counts['items_in_no_list']:,} of {self.manifest['items']:,}",
                f"bad records       {sum(kind['bad'] for kind in counts['records'].values()):,}",
                f"bytes             {self.total_bytes:,}, {block} completion block",
                *budget,
                f"fidelity          {fidelity}",
                f"seconds           {self.seconds:.1f}",
            ]
        )


def run(argv: Sequence[str]) -> Report:
    """Builds an index in a process of its own, as the command line does.

    Scores are made with one thread an op (saved_model.py says why), and TensorFlow fixes that number
    for a process once: the caller's TensorFlow stays as it is, started or not.

    Raises:
      UserError: see `run_here`.
    """
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_run_quietly, argv).result()


def run_here(argv: Sequence[str]) -> Report:
    """Builds an index in this process, whose TensorFlow has not started or has one thread an op.

    Raises:
      UserError: an option, the export or the output directory will not do; too many records are bad, or scores are
        not finite; a worker was lost, or the disk is full; or the index keeps less of exact scoring than
        --min_fidelity.
        Nothing is left at the output then, and an index that stood there stays as it was.
    """
    options, beam_options = parse(argv)
    start = time.monotonic()
    export = read_manifest(options.model, EXPORT_FORMAT)
    _require_replaceable(options.output)
    measured_by = _measured_by(options, query_inputs(export["model"]))
    with new_artifact(options.output) as directory, tempfile.TemporaryDirectory() as scratch:
        plan = make_plan(undecided(options), export, directory, journal=os.path.join(scratch, "journal"))
        plan = without_bad_items(plan, options.max_bad_share)
        bad_queries = screen_queries(plan, options.max_bad_share)
        plan, budget = within_budget(plan, options)
        plan = with_updates(plan, options.base_index, INDEX_FORMAT, export)
        with shown(Journal(plan.journal), options.progress):
            result = _run_pipeline(plan, beam_options)
        discard_unfinished(directory)
        counts = count(plan)
        _reconcile(counts, result)
        records = tally(plan, counts.ready_lists, _counted(result, QUERIES_ENCODED), len(bad_queries))
        require_within(budget, directory)
        quality = measured_by and _measured(plan, measured_by, options.min_fidelity, budget)
        write_dead_letters(directory, [*plan.bad_items, *plan.bad_lists, *bad_queries])
        manifest = write_index_manifest(plan, export, counts, records, budget and budget.as_fields())
    pairs, seconds = _counted(result, PAIRS_SCORED), time.monotonic() - start
    return Report(options.output, manifest, pairs, seconds, quality, budget)


def _measured_by(options: BuildOptions, inputs: Sequence[QueryInput]) -> CheckOptions | None:
    """By what the index will be measured; None if that is not asked for, or there are no queries and it need not be.

    Raises:
      UserError: the queries will not do.
    """
    if not options.quality_queries or not (options.queries.exists() or options.min_fidelity or options.max_bytes):
        return None
    require_queries(options.queries, inputs)
    one_thread_per_op()  # Scored in this process, by whatever workers the lists are made: before it starts TensorFlow.
    return CheckOptions(options.queries, options.quality_queries)


def _measured(plan: Plan, options: CheckOptions, min_fidelity: float, budget: Budget | None) -> Quality:
    """Measures the index that is not yet published and adds the report to it.

    Raises:
      UserError: its fidelity is below what was asked.
    """
    quality = dataclasses.replace(measure(plan, options), budget=budget)
    require_fidelity(quality, min_fidelity)
    write_report(quality, pathlib.Path(plan.directory))
    return quality


def _require_replaceable(output: pathlib.Path) -> None:
    """The output is replaced as a whole, so nothing but an index may stand there."""
    if output.exists() and not (output.is_dir() and (_is_index(output) or not any(output.iterdir()))):
        raise UserError(f"--output {output} exists and is not an index; give another directory, or remove it")
    existing = next(parent for parent in output.absolute().parents if parent.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        raise UserError(f"--output {output} cannot be written: {existing} is not a directory that you can write to")


def _is_index(directory: pathlib.Path) -> bool:
    """Whether an index stands there, of whatever version of the format."""
    path, kind = directory / MANIFEST, INDEX_FORMAT.partition("/")[0]
    return path.is_file() and f'"{kind}/' in path.read_text()


def _run_pipeline(plan: Plan, options: PipelineOptions) -> PipelineResult:
    with user_errors("index"):
        pipeline = beam.Pipeline(options=options)
        build(pipeline, plan)
        result = pipeline.run()
        result.wait_until_finish()
        return result


def _reconcile(counts: Counts, result: PipelineResult) -> None:
    """Raises RuntimeError where the files hold more or less than the workers counted."""
    for name, found in ((CODES_SCORED, counts.codes), (POSTINGS_WRITTEN, counts.postings)):
        expected = _counted(result, name)
        if found != expected:
            raise RuntimeError(f"the index written does not add up: {name} is {expected}, its files hold {found}")


def _counted(result: PipelineResult, name: str) -> int:
    """What the workers counted under a name."""
    metrics = result.metrics().query(MetricsFilter().with_namespace(COUNTERS).with_name(name))["counters"]
    return sum(metric.result for metric in metrics)


def _run_quietly(argv: Sequence[str]) -> Report:
    quiet_beam()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    return run_here(argv)


def main(argv: Sequence[str]) -> None:
    """Builds an index, in this process if its TensorFlow is fit for it, and prints what it holds."""
    if parse(argv)[0].dry_run:
        one_thread_per_op()
        print(forecast(parse(argv)[0]))
        return
    print(_run_quietly(argv) if one_thread_per_op() else run(argv))


if __name__ == "__main__":
    run_cli(main)
