"""Many trials: what is proposed, who goes on, and why. A pure decider; runners carry it out.

    input ─▶ decide(state, input) ─▶ events ─▶ append ─▶ evolve(state, event) ─▶ orders ─▶ runner

Start with `events` (what can be stored), `state` (what it adds up to) and `evolve` (how), `decide`
(what follows from it) and `engine` (the loop that ties them).
"""
