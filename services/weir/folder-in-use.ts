import { connect } from "node:net";
import { splitAddress } from "@weir/kit/link/address";
import { type DataFolder, readTextFile } from "./data-folder.ts";
import { OperatorError } from "./operator-error.ts";

/**
 * Asks whether a gateway that was started on this folder still answers. The journal and the database have locks of their
 * own; this tells a person early, and before anything was touched.
 * @throws OperatorError when it does
 */
export async function refuseFolderInUse(folder: DataFolder): Promise<void> {
  const address = readTextFile(folder.meteringAddress);
  if (address === undefined || !(await answers(address))) return;
  throw new OperatorError(`a gateway runs on ${folder.path} already; stop it, or set WEIR_DATA_DIR to another folder`);
}

function answers(address: string): Promise<boolean> {
  const unix = "unix:";
  const place = address.startsWith(unix) ? { path: address.slice(unix.length) } : splitAddress(address);
  return new Promise((resolve) => {
    const socket = connect({ ...place, timeout: 1_000 });
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("connect", () => end(true));
    socket.once("error", () => end(false));
    socket.once("timeout", () => end(false));
  });
}
