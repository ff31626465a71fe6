"""Tools that a model may call: Python functions, pydantic models, and definitions as OpenAI, Anthropic and MCP write them."""

from tabagent.tools.tool import Tool, tools_from

__all__ = ["Tool", "tools_from"]
