"""Answers the requests of task.ts on stdin, a JSON a line; see serve.ts, its twin."""
import json
import resource
import sys
import time


def serve(version, makers):
    """`makers` gives for each kind of task a function from the task to a Workload."""
    workloads = {}

    def answer(request):
        if "open" in request:
            task = request["task"]
            if task["kind"] not in makers:
                raise ValueError("not written for it")
            workload = workloads[request["open"]] = makers[task["kind"]](task)
            return {} if workload.parameters is None else {"parameters": workload.parameters}
        if "check" in request:
            return {"result": workloads[request["check"]].check()}
        if "close" in request:
            del workloads[request["close"]]
            return {}
        run = workloads[request["run"]].run
        start = time.perf_counter()
        for _ in range(request["times"]):
            run()
        milliseconds = 1000 * (time.perf_counter() - start) / request["times"]
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"milliseconds": milliseconds, "peakBytes": peak}

    print(json.dumps({"version": version}), flush=True)
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except Exception as error:  # The other side prints it in the table.
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)


class Workload:
    """`run()` does the work, `norms(result)` the numbers that show what was computed."""

    def __init__(self, run, norms, parameters=None):
        self.run = run
        self.norms = norms
        self.parameters = parameters

    def check(self):
        return self.norms(self.run())
