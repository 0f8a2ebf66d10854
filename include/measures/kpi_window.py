"""What the period of the KPIs is called, in the reports and on the dashboards that show them."""


def kpi_window(days: int) -> str:
    """What the KPI period is called."""
    return "last day" if days == 1 else f"last {days} days"
