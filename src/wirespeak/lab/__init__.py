"""The lab: real servers, devices and attack tools in network namespaces, recorded with their truth.

`recorder.record` makes a recording of a scenario; `truth.label_flows` gives the flows of a recording their
labels. This file imports nothing: every host of a lab is a process of its own that starts from it.
"""
