"""An engine with a worker on each of several hosts, which gives the work of a lost one to another.

    python -m tests.engines.cluster PORT ADDRESS LOG POOL...

A job service at PORT, whose workers reach it at ADDRESS; each POOL (host:port) is a worker pool of
Beam. It is Beam's FnApiRunner, which has the stages and the shuffle, and lacks what engines do when
a host is lost: here a bundle that fails, or whose worker says nothing for `SILENCE_SECONDS` or
does not start within `START_SECONDS`, is done again by another worker, up to `ATTEMPTS` times, as
Dataflow does. A worker that was only cut off goes on meanwhile. LOG gets lines of JSON: pool and
bundle as an attempt begins, and once more, with its error or '', as it ends.
"""

import itertools
import json
import os
import sys
import threading
import time

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc, endpoints_pb2
from apache_beam.runners.portability import local_job_service_main
from apache_beam.runners.portability.fn_api_runner import fn_runner, worker_handlers

# A machine that does much else needs longer.
SILENCE_SECONDS = float(os.environ.get("DICOMFERRY_SILENCE_SECONDS", "20"))
START_SECONDS = max(90.0, SILENCE_SECONDS)
ASK_SECONDS = 2.0
ATTEMPTS = 4
_UNSTARTED = worker_handlers.BeamFnControlServicer.UNSTARTED_STATE
_STARTED = worker_handlers.BeamFnControlServicer.STARTED_STATE
_LOCK = threading.RLock()
_numbers = itertools.count()
_workers = []


class LostError(Exception):
    """A worker was lost with a bundle."""


def has_started(worker):
    """Whether a worker has said that it is there."""
    return worker.control_conn._state == _STARTED


def is_alive(worker):
    """Whether a worker starts, or is there."""
    control = worker.control_conn
    if control._state == _UNSTARTED:
        is_there = not getattr(worker, "is_lost", False)
    else:
        is_there = has_started(worker) and control._read_thread.is_alive()
    return is_there and not getattr(worker, "is_dropped", False)


def watch(worker, channel):
    """Notice when the pool is gone that a worker was asked of: it does not start any more."""
    states = []

    def note(state):
        if states and state is not grpc.ChannelConnectivity.READY:
            worker.is_lost = True
        states.append(state)

    worker.to_pool = channel  # as long as the worker
    channel.subscribe(note)


def start_worker(worker, pools):
    """Start a worker in the pool that has the fewest, of those that answer."""
    busy = [each.pool for each in _workers if is_alive(each)]
    control = endpoints_pb2.ApiServiceDescriptor(url=worker.control_address)
    request = beam_fn_api_pb2.StartWorkerRequest(
        worker_id=worker.worker_id,
        control_endpoint=control,
        artifact_endpoint=control,
        provision_endpoint=control,
        logging_endpoint=worker.logging_api_service_descriptor(),
    )
    for pool in sorted(pools, key=busy.count):
        channel = grpc.insecure_channel(pool)
        stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        try:
            stub.StartWorker(request, timeout=10)
        except grpc.RpcError:
            channel.close()
            continue
        watch(worker, channel)
        worker.pool = pool
        _workers.append(worker)
        return
    raise LostError("no pool answers")


def pick(context, number):
    """A worker of a job, the next one for the next number; lost ones are replaced before."""
    with _LOCK:
        manager = context.execution_context.worker_handler_manager
        for workers in manager._cached_handlers.values():
            workers[:] = filter(is_alive, workers)
        context._worker_handlers = None
        workers = context.worker_handlers
        return workers[number % len(workers)]


class BundleManager(fn_runner.BundleManager):
    """Runs a bundle until one attempt comes to an end; the output of the others is dropped."""

    log = None

    def process_bundle(self, inputs, expected_outputs, timers, expected_timers, dry_run=False):
        assert not timers and not expected_timers, "no pipeline of ours has timers"
        inputs = {name: list(parts or ()) for name, parts in inputs.items()}
        number = next(_numbers)
        for attempt in range(ATTEMPTS):
            worker = pick(self.bundle_context_manager, number + attempt)
            instruction = f"bundle_{number}_{attempt}"
            self._tell(worker, instruction)
            try:
                result, output = self._attempt(worker, instruction, inputs, expected_outputs)
            except (LostError, RuntimeError) as error:
                self._tell(worker, instruction, error=str(error).strip().rpartition("\n")[2])
                if attempt == ATTEMPTS - 1:
                    raise RuntimeError(str(error)) from error
                continue
            self._tell(worker, instruction, error="")
            with _LOCK:
                for each in output:
                    buffer = expected_outputs[each.transform_id]
                    self.bundle_context_manager.get_buffer(buffer, each.transform_id).append(
                        each.data
                    )
            return result, []

    def _attempt(self, worker, instruction, inputs, expected_outputs):
        for transform, parts in inputs.items():
            stream = worker.data_conn.output_stream(instruction, transform)
            for part in parts:
                stream.write(part)
            stream.close()
        descriptor = self.bundle_context_manager.process_bundle_descriptor.id
        bundle = beam_fn_api_pb2.ProcessBundleRequest(process_bundle_descriptor_id=descriptor)
        future = worker.control_conn.push(
            beam_fn_api_pb2.InstructionRequest(instruction_id=instruction, process_bundle=bundle)
        )
        listener = _Listener(worker, instruction)

        def is_over():
            return listener.is_lost() or (future.is_done() and bool(future.get().error))

        output = list(worker.data_conn.input_elements(instruction, list(expected_outputs), is_over))
        while not future.is_done():
            if listener.is_lost():
                break
            time.sleep(0.02)
        if listener.lost:
            worker.is_dropped = True
            raise LostError(f"the worker in {worker.pool} is lost")
        result = future.get()
        if result.error:
            raise RuntimeError(result.error)
        return result, output

    def _tell(self, worker, instruction, **end):
        with _LOCK:
            line = {"pool": worker.pool, "bundle": instruction, **end}
            print(json.dumps(line), file=self.log, flush=True)


class _Listener:
    """Asks a worker how a bundle gets on, again and again, and notices when it says nothing.

    Between two looks any time can pass in which the worker sends output: only a question without
    an answer is silence. A worker that was given up stays lost, whatever it says later, or the
    output until then would count as all of it.
    """

    def __init__(self, worker, instruction):
        self._worker = worker
        self._instruction = instruction
        self._begun = self._heard = self._asked = time.monotonic()
        self._answer = None
        self.lost = False

    def is_lost(self):
        now = time.monotonic()
        if self._answer is not None and self._answer.is_done():
            self._answer, self._heard = None, now
        if self._answer is None and now - self._heard > ASK_SECONDS:
            progress = beam_fn_api_pb2.ProcessBundleProgressRequest(
                instruction_id=self._instruction
            )
            request = beam_fn_api_pb2.InstructionRequest(process_bundle_progress=progress)
            self._answer, self._asked = self._worker.control_conn.push(request), now
        if has_started(self._worker):
            is_silent = self._answer is not None and now - self._asked > SILENCE_SECONDS
        else:
            is_silent = now - self._begun > START_SECONDS
            self._asked = now  # it hears the question when it is there
        self.lost = self.lost or is_silent or not is_alive(self._worker)
        return self.lost


def main(port, address, log, *pools):
    handler = worker_handlers.ExternalWorkerHandler
    handler.start_worker = lambda worker: start_worker(worker, pools)
    handler.host_from_worker = lambda _: address
    begin = fn_runner.FnApiRunner.__init__

    def begin_with_workers(runner, *args, **kwargs):
        begin(runner, *args, **kwargs)
        runner._num_workers = len(pools)

    fn_runner.FnApiRunner.__init__ = begin_with_workers
    BundleManager.log = open(log, "a")  # noqa: SIM115 (until the end)
    fn_runner.BundleManager = BundleManager
    local_job_service_main.run([f"--port={port}"])


if __name__ == "__main__":
    main(*sys.argv[1:])
