"""A typed client of the open API, for programs of a site: `pip install keyvigil httpx`, and no server package.

with OpenApi("https://authority.example:8444", token=TOKEN, ca_file="ca.pem") as api:
    for node in api.nodes(state="demoted"):
        print(node.name, node.score, node.explanation)
"""

from authority.client._calls import ApiError, OpenApi

__all__ = ["ApiError", "OpenApi"]
