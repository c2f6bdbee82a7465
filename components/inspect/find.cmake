# It needs nothing but the core.
asyncio_component_option(inspect ON "threads" "")
