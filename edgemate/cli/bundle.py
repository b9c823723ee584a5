"""`edgemate bundle`: sign, verify, pack and unpack bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgemate.cli.screen import print_json, say
from edgemate.cli.trust import TrustedKeys
from edgemate.wording import counted

bundle = typer.Typer(help="Sign, verify, pack and unpack bundles.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@bundle.command()
def keygen(
    private: Annotated[Path, typer.Argument(metavar="KEY.pem", help="File for the private key; keep it to yourself.")],
    public: Annotated[Path, typer.Argument(metavar="KEY.pub", help="File for the public key, to be trusted.")],
) -> None:
    """Make a pair of Ed25519 keys. The private one is not encrypted; its file can be read by its owner alone."""
    from edgemate import api

    say(f"key {api.make_keys(private, public)}: {private} signs, and who trusts {public} can verify")


@bundle.command()
def sign(
    path: Folder,
    key: Annotated[Path, typer.Option(help="Private key in PEM: Ed25519, or ECDSA.")],
    trust_engines: Annotated[
        bool, typer.Option("--trust-engines", help="Sign engines that another machine built, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Sign every file of a bundle; write model.sig into it.

    Whoever trusts the key runs what is signed, the engines too. So sign after calibrating, and the engines that this
    machine built.
    """
    from edgemate import api

    found = api.sign_bundle(path, key, trust_engines=trust_engines)
    if as_json:
        print_json(found.to_json())
    else:
        say(f"signed {counted(len(found.files), 'file')} of {path} by key {found.signer}")


@bundle.command()
def verify(
    path: Folder,
    trusted_keys: Annotated[
        Path, typer.Option(metavar="FILE|FOLDER", help="Public keys: the bundle must be signed by one of them.")
    ],
    as_json: AsJson = False,
) -> None:
    """Check that everything in a bundle's folder is signed by a trusted key, or was made here by this machine."""
    from edgemate import api

    found = api.verify_bundle(path, trusted_keys)
    if as_json:
        print_json(found.to_json())
    else:
        say(f"{path}: {counted(len(found.files), 'file')} signed by key {found.signer}")


@bundle.command()
def pack(
    path: Folder,
    output: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, such as NAME.tar.")],
) -> None:
    """Write a bundle to one file, the same bytes for the same bundle."""
    from edgemate import api

    say(f"written: {api.pack_bundle(path, output)}")


@bundle.command()
def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A packed bundle.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to make.")],
    trusted_keys: TrustedKeys = None,
) -> None:
    """Write a packed bundle to a folder, after everything in it was checked."""
    from edgemate import api

    say(f"bundle: {api.unpack_bundle(file, folder, trusted_keys=trusted_keys)}")
