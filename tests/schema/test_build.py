"""The schema as a whole."""

from graphql import GraphQLEnumType, GraphQLObjectType, validate_schema

from schema.build import build
from schema.root import schema


def test_the_schema_is_sound() -> None:
    assert [] == validate_schema(schema._schema)


def test_the_sdl_is_the_same_each_time_and_sorted() -> None:
    sdl = schema.as_str()

    assert sdl == build().as_str()
    names = [line.split()[1] for line in sdl.splitlines() if line.startswith("type ")]
    assert sorted(names) == names


def test_everything_of_ours_is_described() -> None:
    """The docstrings of rows, enums and functions are what a reader of the SDL sees."""
    undescribed = [
        name
        for name, kind in schema._schema.type_map.items()
        if not name.startswith("__") and not kind.description and isinstance(kind, GraphQLObjectType | GraphQLEnumType)
    ]
    roots = [schema._schema.query_type, schema._schema.mutation_type, schema._schema.subscription_type]

    assert [] == undescribed
    assert [] == [name for root in roots if root for name, field in root.fields.items() if not field.description]


def test_what_may_be_left_out_has_no_default_of_null() -> None:
    assert "= null" not in schema.as_str()


def test_permissions_are_shown_by_their_names() -> None:
    kind = schema._schema.type_map["Permission"]

    assert isinstance(kind, GraphQLEnumType)
    assert {"JOB_CANCEL", "SNAPSHOT_READ", "ADMIN"} <= set(kind.values)


def test_each_action_is_given_one_input_and_answers_a_payload_of_its_name() -> None:
    mutation = schema._schema.mutation_type
    assert mutation is not None

    for name, field in mutation.fields.items():
        if name == "actionByName":
            continue  # older clients name what they mean
        own = name[0].upper() + name[1:]
        assert f"{own}Payload!" == str(field.type)
        assert set(field.args) <= {"input"}
        assert all(str(argument.type).rstrip("!") == f"{own}Input" for argument in field.args.values())
