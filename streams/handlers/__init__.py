"""The built-in task types. Importing this package registers them.

Heavy libraries are imported where they are used: the API imports these modules for their schemas alone.
"""

from streams.handlers import callback as callback
from streams.handlers import chat as chat
from streams.handlers import data as data
from streams.handlers import email as email
from streams.handlers import file as file
