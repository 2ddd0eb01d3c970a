import { oneProcess } from "../runners.ts";
import { suite } from "./suite.ts";

suite(oneProcess);
