"""What is told about traffic: trace contexts, access log lines, process logs, metrics.

In: headers, finished requests, counters. Out: trace headers, JSON lines, Prometheus text. Nothing a peer sends can
break a line, leave its field, or make more series than the cap allows. Imported by the shells; it imports `mesh.base`.
"""
