"""What hardware may answer: a file computed in the arithmetics that hardware is known, or assumed, to use.

file --forms--> plan --arithmetics--> answers of each --judgement--> Envelope

It is a model of risk. No record from a device has been held against it so far.
"""
