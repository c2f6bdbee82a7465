# It needs nothing but the core.
asyncio_component_option(testing ON "threads" "")
