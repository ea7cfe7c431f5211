"""What can be done. The catalogue's actions are generated from their rows; signing in and out is written out here."""

from typing import Any, Final

import msgspec
import strawberry
from strawberry.tools import create_type
from strawberry.types.field import StrawberryField

from resolvers import identity
from resolvers.actions import reading
from resolvers.actions.catalogue import CATALOGUE
from resolvers.actions.contract import Action
from resolvers.actions.performing import perform
from schema import choosing, docs
from schema.access import Acting, Open, SigningOut
from schema.actions import (
    LoginInput,
    LoginPayload,
    LogoutInput,
    LogoutPayload,
    RefreshInput,
    RefreshPayload,
)
from schema.fields import Info, described, fields_of, guarded, shown
from schema.payloads import Types, plain


@described
class SigningIn:
    """What can be done without having signed in, and undone."""

    @guarded(Open("login", 10))
    async def login(self, info: Info, input: LoginInput) -> LoginPayload:
        """Sign in with a password."""
        signed = await identity.login(info.context, input.tenant, input.email, input.password)
        return LoginPayload(session=shown(signed.session), user=shown(signed.user))

    @guarded(Open("refresh", 30))
    async def refresh(self, info: Info, input: RefreshInput) -> RefreshPayload:
        """Exchange a refresh token for fresh tokens."""
        signed = await identity.refresh(info.context, input.refresh_token)
        return RefreshPayload(session=shown(signed.session), user=shown(signed.user))

    @guarded(SigningOut())
    async def logout(self, info: Info, input: LogoutInput | None = None) -> LogoutPayload:
        """End all access tokens of the caller."""
        await identity.logout(info.context, input.refresh_token if input else None)
        return LogoutPayload(user_id=shown(info.context.caller.user_id))


def _acting(action: Action[Any, Any], types: Types) -> StrawberryField:
    """The field of one action."""

    async def resolve(info: Info, input: Any = None) -> Any:
        assert info.path.prev is None
        performed = await perform(info.context, action, plain(input) or {}, place=str(info.path.key))
        return performed if action.long else performed.result

    async def resolve_without(info: Info) -> Any:
        return await resolve(info)

    taken: dict[str, Any] = {}
    if not msgspec.structs.fields(action.payload):
        resolver: Any = resolve_without
    elif reading.needless(action.payload):
        resolver, taken = resolve, {"input": types.input(action) | None}
    else:
        resolver, taken = resolve, {"input": types.input(action)}
        resolve.__defaults__ = None
    # A type keeps its fields by the names of their functions.
    resolver.__name__ = action.name.replace(".", "_")
    resolver.__annotations__ = {"info": Info, **taken, "return": types.output(action)}
    field: Any = strawberry.field(
        resolver,
        description=docs.cut(action.doc),
        extensions=[Acting(action)],
    )
    made: StrawberryField = field
    return made


def mutation() -> type:
    """The root of everything that can be done."""
    types = Types()
    acting = [_acting(action, types) for action in CATALOGUE.values()]
    chosen = choosing.fields(CATALOGUE, types)
    return create_type("Mutation", [*fields_of(SigningIn), *acting, *chosen], description="What can be done.")


Mutation: Final = mutation()
