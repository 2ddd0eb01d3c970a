import { loopback } from "../runners.ts";
import { suite } from "./suite.ts";

suite(loopback);
