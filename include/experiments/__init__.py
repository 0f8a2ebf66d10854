"""Comparing groups of customers: pure functions for a notebook, used by the A/B analysis.

    comparisons                two groups: Welch, proportions, Mann-Whitney, bootstrap, winsorised, and the paired test
    ratios                     two groups, a ratio of totals (revenue per order): the delta method
    assignment                 whether the groups have the sizes they should have; look at it first
    cuped                      less noise by what was known of each customer before
    sequential                 p-values and intervals that may be looked at every day
    corrections                Holm and Benjamini-Hochberg, for several comparisons
    power                      what a comparison can find at all
    difference_in_differences  groups that were not drawn at random, before and after, against matched controls
    earlier_periods            a period against the periods before it, with what differs between those anyway
    permutation                do the p-values of a test hold on these very data?

Each comparison returns a `Comparison`: effect, interval, p-value, and the customers of each group. What cannot be said
(one customer, no variance) is missing (NaN); nothing is raised for it.
"""
